"""Runs from a person's words to a report.

LangGraph brings a tracer along that sends whole runs to a server of others when one of these variables asks for it.
They are taken out of the environment before it can be imported; `agent.runs` also switches the tracer off.
"""

import os

for _name in [name for name in os.environ if name.upper().startswith(("LANGSMITH_", "LANGCHAIN_"))]:
    del os.environ[_name]
