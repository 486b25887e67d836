"""Fine-tuning a student: padded rows (data.py), which rows share a step (plan.py), the model with its adapter
(model.py) and the run of transformers' Trainer (trainer.py). It knows no task and no store.

Only model.py and trainer.py import torch; they are imported by the stage once it is certain that there is work.
"""
