"""Agent instructions: change requests in plain language, confirmed by a person, sent to an external agent.

``service.py`` has what people do, ``lease.py`` and ``dispatch.py`` what a worker does, ``target.py`` where
a request goes, ``report.py`` and ``callback.py`` what the agent answers, and ``signature.py`` the callback
URL. ``events.py`` records every change. docs/agents.md is the manual.
"""
