from sweep.coordinator.files import forget_peaks
from sweep.run_folder import RunFolder


def test_of_a_running_trial_only_the_model_of_its_committed_peak_stays(tmp_path):
    folder = RunFolder(tmp_path)
    for trial, progress in [(0, 50), (0, 100), (0, 150), (1, 50)]:
        folder.peak_model(trial, progress).mkdir(parents=True)
    forget_peaks(folder, 0, kept=100)
    assert folder.peak_models(0) == [folder.peak_model(0, 100)]
    assert folder.peak_models(1) == [folder.peak_model(1, 50)]
