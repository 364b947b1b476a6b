"""Turns a request into a frozen plan, before anything is stored or paid.

``run_spec.py`` has the trigger's checks, in order; ``planner.py`` makes the plan, in order: settings
(``settings_layers.py``, ``config_files.py``), ``manifest.py``, ``prompt.py``, ``postprocess_config.py``,
``model_choice.py``, pictures (``picture_inspection.py``, ``project_inputs.py``). ``plan.py`` is the result.
``price.py`` and ``quote.py`` estimate its cost; ``tool_check.py`` finds missing tools and keys.
"""
