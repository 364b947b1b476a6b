"""Turning a request into a frozen plan: everything that can be known before anything is paid.

``run_spec.py`` has the trigger's checks, in order; ``planner.py`` is the plan, in order: settings
(``settings_layers.py``, ``config_files.py``), ``manifest.py``, ``prompt.py``, ``postprocess_config.py``,
``model_choice.py``, pictures (``picture_inspection.py``, ``project_inputs.py``). ``plan.py`` is the result,
``price.py`` and ``quote.py`` say what it may cost, ``tool_check.py`` what is missing. No row is written
here.
"""
