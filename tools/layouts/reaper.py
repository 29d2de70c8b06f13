"""Three files for REAPER: an OSC pattern file, an effect with a slider for every parameter, a script that sends the sliders.

What REAPER's own OSC can say follows from its published source (reaper-sdk, csurf_osc.cpp): a pattern file maps *its* events to
addresses, where `@` stands for a number. Marker and region names are text, so they can name presets and scenes. Parameters of
effects are numbered only, and REAPER sends 0 for every one that does not exist yet, so a map of numbers would pull a voice
apart whenever a project opens. Parameters therefore go another way: the effect's sliders carry the addresses as their names,
and the script (EEL2, which REAPER brings along) sends those that move to the engine's TCP port, framed as OSC 1.1 says (SLIP).
"""

from __future__ import annotations

from string import Template

from autovoice.tools.layouts.desk import Control, Desk

PATTERNS_NAME, EFFECT_NAME, SCRIPT_NAME = "autovoice.ReaperOSC", "autovoice.jsfx", "autovoice.eel"
MAX_SLIDERS = 256  # of an effect, from REAPER 6.80 on; 64 before
STEPS = 1000  # of a slider under the arrow keys

PATTERNS = """# autovoice.ReaperOSC: REAPER tells AutoVoice what happens on the time line. Made by `autovoice layouts`.
#
# Options > Preferences > Control/OSC/web > Add > OSC (Open Sound Control)
#   Pattern config: autovoice          Mode: Configure device IP+local port
#   Device IP: {host}             Device port: {port}
#
# A marker that is passed loads the preset of its name; a region goes to the scene of its name; record records.

DEVICE_TRACK_COUNT 1
DEVICE_FX_COUNT 1
DEVICE_TRACK_FOLLOWS DEVICE
DEVICE_FX_FOLLOWS DEVICE

LAST_MARKER_NAME s/preset/load
LAST_REGION_NAME s/scene/go
RECORD t/record
"""


def patterns(desk: Desk) -> str:
    """Return the OSC pattern file."""
    return PATTERNS.format(host=desk.host, port=desk.port)


def effect(desk: Desk) -> str:
    """Return the effect (JSFX) for a chain; its sliders are named by path, and it lets all sound through."""
    lines = [
        "desc:AutoVoice",
        "tags:utility control",
        f"// A slider for every parameter of the chain {desk.chain}. Made by `autovoice layouts`.",
        "// The script autovoice.eel sends what moves to AutoVoice; the sound passes through untouched.",
        "",
        *(_slider(number, control) for number, control in enumerate(desk.controls[:MAX_SLIDERS], 1)),
    ]
    return "\n".join(lines) + "\n"


def _slider(number: int, control: Control) -> str:
    """Return one line, `slider1:-40<-90,0,0.09>gate/threshold dB`; a logarithmic one needs REAPER 6.74."""
    row = control.row
    label = f"{row.path} {row.unit}".rstrip()
    if control.is_switch or row.choices:
        names = row.choices or ("off", "on")
        return f"slider{number}:{round(control.value)}<0,{len(names) - 1},1{{{','.join(names)}}}>{label}"
    step = f"{(row.maximum - row.minimum) / STEPS:g}" + (":log" if row.scale == "log" else "")
    return f"slider{number}:{control.value:g}<{row.minimum:g},{row.maximum:g},{step}>{label}"


SCRIPT = Template("""\
// autovoice.eel, made by `autovoice layouts`: sends every slider of the effect AutoVoice that moves, by hand or automation.
//
// Actions > Show action list > New action > Load ReaScript..., choose this file, then run it. It goes on in the background
// and finds the effect on any track, the master included. When it connects, the engine takes what all sliders say.

#host = "$host";
port = $port;

LONGEST = 16000; // bytes that wait to be sent
PATIENCE = 2; // seconds between attempts to connect
END = 0xC0; ESC = 0xDB; ESC_END = 0xDC; ESC_ESC = 0xDD; // SLIP
known = 0; // memory: whether a parameter was ever sent, and as what
sent = 4096;

function put(byte) (
  str_setchar(#out, strlen(#out), byte);
);

function put_escaped(byte) (
  byte == END ? ( put(ESC); put(ESC_END); ) : byte == ESC ? ( put(ESC); put(ESC_ESC); ) : put(byte);
);

function put_message(value) local(k length) ( // the address is in #address
  length = strlen(#address);
  put(END);
  k = 0;
  loop(length, put_escaped(str_getchar(#address, k, 'uc')); k += 1;);
  loop(4 - (length & 3), put(0););
  put(44); put(102); put(0); put(0); // ",f"
  #float = "";
  str_setchar(#float, 0, value, 'F'); // big-endian
  k = 0;
  loop(4, put_escaped(str_getchar(#float, k, 'uc')); k += 1;);
  put(END);
);

function address_of(track, fx, parameter) local(k) ( // "gate/threshold dB" -> "/autovoice/gate/threshold"
  #name = "";
  TrackFX_GetParamName(track, fx, parameter, #name);
  match("*/*", #name) ? (
    k = 0;
    while (k < strlen(#name) && str_getchar(#name, k, 'uc') != 32) ( k += 1; );
    strcpy(#address, "/autovoice/");
    strncat(#address, #name, k);
    1;
  ) : 0;
);

function scan(track) local(fx parameter value) (
  fx = 0;
  loop(TrackFX_GetCount(track),
    TrackFX_GetFXName(track, fx, #fx_name);
    match("*AutoVoice*", #fx_name) ? (
      parameter = 0;
      loop(TrackFX_GetNumParams(track, fx),
        value = TrackFX_GetParam(track, fx, parameter, minimum, maximum);
        (!known[parameter] || abs(sent[parameter] - value) > 0.0000001 * (maximum - minimum)) && strlen(#out) < LONGEST
          && address_of(track, fx, parameter) ? (
          put_message(value);
          known[parameter] = 1;
          sent[parameter] = value;
        );
        parameter += 1;
      );
    );
    fx += 1;
  );
);

function disconnect() (
  tcp_close(connection);
  connection = 0;
);

function flush() local(count) (
  strlen(#out) > 0 ? (
    count = tcp_send(connection, #out);
    count < 0 ? disconnect() : count > 0 ? str_delsub(#out, 0, count);
  );
);

function connect() (
  attempt_at = time_precise() + PATIENCE;
  connection = tcp_connect(#host, port, 0);
  #out = "";
  memset(known, 0, sent);
);

function main() local(track) (
  connection <= 0 && time_precise() >= attempt_at ? connect();
  connection > 0 ? ( tcp_recv(connection, #ignored) < 0 ? disconnect(); );
  connection > 0 ? (
    scan(GetMasterTrack(0));
    track = 0;
    loop(CountTracks(0), scan(GetTrack(0, track)); track += 1;);
    flush();
  );
  defer("main();");
);

main();
""")


def script(desk: Desk) -> str:
    """Return the script that sends the sliders."""
    return SCRIPT.substitute(host=desk.host, port=desk.port)
