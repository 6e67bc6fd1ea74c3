"""What follows from a row of validations, against what a person reads off it."""

from mftcoder.core.progress import Progress

#             step  a     b        mean
VALIDATIONS = [
    (0, {"a": 5.0, "b": 5.0}),  # 5.0
    (2, {"a": 2.0, "b": 4.0}),  # 3.0  best of a
    (4, {"a": 2.5, "b": 3.0}),  # 2.75 best
    (6, {"a": 2.6, "b": 2.9}),  # 2.75, but later; best of b
    (8, {"a": 2.7, "b": 3.1}),  # 2.9  worse than 4 and 6 in both
]


def progress() -> Progress:
    return Progress(step=8, validations=list(VALIDATIONS))


def test_best_overall_and_by_task():
    assert progress().best() == (4, 2.75)
    assert progress().best("a") == (2, 2.0)
    assert progress().best("b") == (6, 2.9)
    assert progress().best_step == 4
    assert progress().first("b") == 5.0


def test_stalls_count_validations_since_the_best():
    assert (progress().stalls(), progress().stalls("a"), progress().stalls("b")) == (2, 3, 1)
    assert Progress().stalls() == 0
    assert Progress().best_step is None


def test_the_pareto_set_is_what_nothing_dominates():
    assert progress().pareto() == [2, 4, 6]
    assert Progress(validations=[(1, {"a": 1.0}), (2, {"a": 1.0})]).pareto() == [1, 2]


def test_steps_to_point_to_and_to_keep():
    assert progress().notable() == {"best": 4, "best-a": 2, "best-b": 6}
    assert progress().worth("best") == {4}
    assert progress().worth("best_by_task") == {2, 4, 6}
    narrow = Progress(validations=[*VALIDATIONS, (10, {"a": 2.4, "b": 3.0})])
    assert narrow.worth("pareto") == {2, 6, 10}  # step 4 is dominated by 10 now, which is the best
    assert Progress().worth("best_by_task") == set()


def test_a_task_may_be_missing_from_a_validation():
    gap = Progress(validations=[(0, {"a": 2.0, "b": 1.0}), (2, {"a": 1.0}), (4, {"a": 1.5, "b": 0.5})])
    assert gap.stalls("b") == 0
    assert gap.tasks == ["a", "b"]


def test_state_round_trip():
    other = Progress()
    other.load_state_dict(progress().state_dict())
    assert other == progress()


def test_losses_are_means_since_the_last_log_also_after_a_resume():
    first, second = Progress(), Progress()
    first.add_losses({"train/loss": (2.0, 1), "train/loss/add": (6.0, 3)})
    second.load_state_dict(first.state_dict())
    for progress in (first, second):
        progress.add_losses({"train/loss": (4.0, 1), "train/loss/say": (5.0, 2)})
        assert progress.take_means() == {"train/loss": 3.0, "train/loss/add": 2.0, "train/loss/say": 2.5}
        assert progress.take_means() == {}
    second.add_losses({"train/loss": (9.0, 1)})
    second.load_state_dict(first.state_dict())
    assert second.take_means() == {}
