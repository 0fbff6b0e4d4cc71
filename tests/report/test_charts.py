import pytest

from tag2mask.report.charts import level_chart, line_chart


def test_values_lie_where_the_axes_say():
    chart = line_chart([1, 2, 3], {"loss": [0.0, 0.5, 1.0]}, titles=("epoch", "loss"), size=(300, 200))

    (line,) = chart.lines
    (left, bottom), (middle, half), (right, top) = line.points
    assert (left, right) == (chart.x.start, chart.x.end)
    assert (bottom, top) == (chart.y.start, chart.y.end)
    assert middle == pytest.approx((left + right) / 2)
    assert half == pytest.approx((bottom + top) / 2)
    assert top < bottom


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0, 1], ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([-0.222, -0.213], ["−0.222", "−0.220", "−0.218", "−0.216", "−0.214", "−0.212"]),
        ([3, 77], ["0", "20", "40", "60", "80"]),
        ([1e-5, 9e-4], ["0", "0.0002", "0.0004", "0.0006", "0.0008", "0.001"]),
        ([0.7], ["0.2", "0.4", "0.6", "0.8", "1.0", "1.2"]),
    ],
)
def test_ticks_are_round_and_surround_the_values(values: list[float], texts: list[str]):
    chart = line_chart(range(len(values)), {"loss": values}, titles=("epoch", "loss"), size=(300, 200))

    assert [tick.text for tick in chart.y.ticks] == texts


def test_epochs_are_whole():
    chart = line_chart([1, 2], {"loss": [1, 2]}, titles=("epoch", "loss"), size=(300, 200))

    assert [tick.text for tick in chart.x.ticks] == ["1", "2"]


def test_level_chart_leaves_gaps_and_writes_the_higher_value_above():
    chart = level_chart(
        ["seed", "CRF"], [("low", "#000", [40, None]), ("high", "#111", [50, 30])], title="mIoU", size=(400, 200)
    )

    low, high = chart.lines
    assert (len(low.points), len(high.points)) == (1, 2)
    assert [label.text for label in high.labels] == ["50.0", "30.0"]
    assert low.labels[0].y > low.points[0][1]
    assert high.labels[0].y < high.points[0][1]


def test_values_stay_above_the_axis():
    chart = level_chart(
        ["seed", "CRF"], [("low", "#000", [40, 20]), ("high", "#111", [50, 20.5])], title="mIoU", size=(400, 200)
    )

    low, high = chart.lines
    at_axis = low.labels[1]
    assert max(label.y for line in chart.lines for label in line.labels) < chart.y.start
    assert high.labels[1].x + 28 < at_axis.x < chart.width - 14
