"""What a seed means."""

from chaos.plan import Break, drawn


def test_a_seed_always_gives_the_same_plan() -> None:
    assert drawn(7, runs=40, kills=10) == drawn(7, runs=40, kills=10)
    assert drawn(7, runs=40, kills=10) != drawn(8, runs=40, kills=10)


def test_a_plan_has_exactly_the_runs_and_kills_asked_for() -> None:
    for kills in (3, 40, 41):
        plan = drawn(1, runs=200, kills=kills)

        assert (len(plan.orders), plan.kills) == (200, kills)
        assert len({order.key for order in plan.orders}) == 200


def test_the_default_plan_breaks_every_part_in_every_way() -> None:
    assert {disturbance.what for disturbance in drawn(1, runs=200, kills=40).disturbances} == set(Break)
