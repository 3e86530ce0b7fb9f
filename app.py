"""The studio as a Space: `python app.py`. A Space tells its own name in SPACE_HOST and is shown in a frame."""

import os

from soundsieve.cli.studio import studio

if __name__ == "__main__":
    studio(
        host="0.0.0.0",
        port=int(os.environ.get("PORT", "7860")),
        auth=os.environ.get("SOUNDSIEVE_AUTH"),
        allow_host=[os.environ.get("SPACE_HOST", "localhost")],
        allow_frame=["https://huggingface.co"],
    )
