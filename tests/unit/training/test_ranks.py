from __future__ import annotations

import pytest
import torch

from llm2llm.podenv import TRAIN_PROCESSES
from llm2llm.training.ranks import Ranks, processes


@pytest.mark.parametrize(
    ("asked", "visible", "environ", "count"),
    [
        pytest.param(0, 0, {}, 1, id="no GPU"),
        pytest.param(1, 1, {}, 1, id="one"),
        pytest.param(4, 4, {}, 4, id="one process for each"),
        pytest.param(8, 0, {}, 1, id="a laptop runs the manifest of a cluster"),
        pytest.param(1, 8, {}, 1, id="no more than were asked for"),
        pytest.param(0, 0, {TRAIN_PROCESSES: "2"}, 2, id="as a test says"),
    ],
)
def test_the_gpus_that_were_asked_for_decide_the_number(
    asked: int, visible: int, environ: dict[str, str], count: int
) -> None:
    assert processes(asked, visible, environ) == count


def test_a_process_alone_decides_by_itself_and_waits_for_nobody() -> None:
    alone = Ranks()
    shares = torch.tensor([1.0, 2.0], requires_grad=True)

    assert alone.broadcast(True, False) == (True, False)
    assert alone.all_reduce_min(3) == 3
    assert alone.all_reduce_sum(shares).tolist() == [1.0, 2.0]
    assert alone.all_reduce_sum(shares) is not shares  # of which a sum would change the losses themselves
    alone.barrier()
