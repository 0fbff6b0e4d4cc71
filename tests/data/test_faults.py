import pickle

from tag2mask.data.faults import DataError, FaultLog


def test_error_of_a_data_set_travels_from_one_process_to_another():
    log = FaultLog()
    log.error("list", "train.txt", found="no such file", expected="a list")
    log.error("row", "tags.csv", row=3, found="'a'", expected="'b'", hint="Did you mean 'b'?")
    error = DataError(log.faults)

    again = pickle.loads(pickle.dumps(error))

    assert str(again) == str(error)
    assert again.faults == error.faults
