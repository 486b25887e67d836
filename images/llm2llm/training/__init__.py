"""Fine-tunes a student; knows no task and no store.

data.py joins and pads rows, plan.py decides which rows share an optimizer step, model.py loads and saves the model with
its adapter, trainer.py runs transformers' Trainer, run.py does a whole training, and launch.py starts one process per
GPU. The stage imports torch through them only once it is certain that there is work.
"""
