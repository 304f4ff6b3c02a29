import pytest

from benchmarks.peers.latency import measure_in_turns, texts_of_length


class Clock:
    """Time that only the encoders move."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Encoder:
    def __init__(self, clock, seconds, log):
        self.clock, self.seconds, self.log = clock, iter(seconds), log

    def encode(self, text):
        self.log.append((self, text))
        self.clock.now += next(self.seconds)


def test_warm_up_does_not_count():
    clock, log = Clock(), []
    encoder = Encoder(clock, [9.0, 9.0, *[0.002] * 10], log)
    latency = measure_in_turns({"a": encoder}, ["x"], rounds=10, calls=1, warm_up_rounds=2, clock=clock)["a"]
    assert latency.p50_ms == pytest.approx(2.0)
    assert latency.p99_ms == pytest.approx(2.0)


def test_encoders_take_turns_on_the_same_text():
    clock, log = Clock(), []
    first, second = Encoder(clock, [0.001] * 8, log), Encoder(clock, [0.001] * 8, log)
    measure_in_turns({"a": first, "b": second}, ["x", "y", "z"], rounds=3, calls=2, warm_up_rounds=1, clock=clock)
    assert log[:4] == [(first, "x"), (first, "y"), (second, "x"), (second, "y")]
    assert log[4:8] == [(first, "z"), (first, "x"), (second, "z"), (second, "x")]
    assert len(log) == 16


def test_texts_have_the_wanted_number_of_tokens():
    def count(text):
        return 2 + sum(len(word) for word in text.split())

    made = texts_of_length(["aa bbb", "c d dddddddd"], 7, count, count=3)
    assert len(made) == 3
    assert all(count(text) == 7 for text in made)


def test_words_that_cannot_make_the_length_are_refused():
    with pytest.raises(ValueError, match="no text of 3 tokens"):
        texts_of_length(["abcd"], 3, len)
