"""What a worker does with a job and with a run whose jobs have ended.

Start at ``claim.py``, then ``execute.py`` (apply the steps of ``steps`` to one job) and ``finish.py``
(write the run log, ingest it, end the run). ``image_job.py`` is the value that steps pass on,
``step_recorder.py`` makes a job resumable, ``sweep.py`` finds work that was missed. ``answer_store.py``,
``found_answers.py`` and ``late_answers.py`` keep pictures that were paid for, whatever became of their job.
"""
