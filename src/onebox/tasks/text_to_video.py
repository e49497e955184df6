"""Task `text-to-video`: a video from a prompt.

curl -s localhost:8000/v1/tasks/text-to-video -H "Authorization: Bearer $KEY" \\
     -H 'Content-Type: application/json' -H 'Accept: video/mp4' \\
     -d '{"model": "onebox-shapes-motion", "prompt": "a red circle moving right on a blue
          background"}' -o circle.mp4
"""

from __future__ import annotations

from onebox.core.contracts import RunContext
from onebox.core.plugins import TASKS
from onebox.imaging.diffusion.recipe import Picture, VideoRecipe
from onebox.imaging.video.abilities import TEXT
from onebox.tasks.video_input import VideoInput
from onebox.tasks.video_task import VideoTask


class TextToVideoInput(VideoInput):
    """What to film."""


class TextToVideo(VideoTask[TextToVideoInput]):
    name = "text-to-video"
    summary = "Make a video from a prompt"
    mode = TEXT
    Input = TextToVideoInput

    def shot(self, request: TextToVideoInput, recipe: VideoRecipe, context: RunContext) -> Picture:
        return self.plain_shot(request)


TASKS.register(TextToVideo.name, TextToVideo())
