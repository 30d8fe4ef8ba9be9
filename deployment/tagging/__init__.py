"""The one tagging path of the project: a question in, its tags out.

Training, evaluation, the Space, the web app and the command-line tool all import this package, so that the model is
evaluated exactly as it is served. It depends on nothing but ``deployment/requirements.txt``.
"""
