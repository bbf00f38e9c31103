from hypothesis import settings

patient = settings(deadline=None)  # the cores may be busy; nothing here is a test of speed
