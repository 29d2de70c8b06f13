/**
 * A colour map in which equal steps look equal: a straight rise of lightness in Oklab (B. Ottosson, 2020) from near black to
 * pale yellow, while the hue turns from blue over violet and red.
 */

const FIRST_LIGHTNESS = 0.13;
const LAST_LIGHTNESS = 0.96;
const FIRST_HUE = 275; // degrees
const HUE_TURN = 190; // degrees
const CHROMA = 0.165; // in the middle of the map; none at its ends

/**
 * Return the colours for 0..255 as pixels of an ImageData.
 * @returns {Uint32Array}
 */
export function colourMap() {
  const pixels = new Uint32Array(256);
  const bytes = new Uint8Array(pixels.buffer);
  for (let k = 0; k < 256; k++) {
    const share = k / 255;
    const lightness = FIRST_LIGHTNESS + share * (LAST_LIGHTNESS - FIRST_LIGHTNESS);
    const hue = ((FIRST_HUE + share * HUE_TURN) * Math.PI) / 180;
    const chroma = CHROMA * Math.sin(Math.PI * Math.min(1, 0.08 + 0.87 * share));
    bytes.set([...rgb(lightness, chroma * Math.cos(hue), chroma * Math.sin(hue)), 255], 4 * k);
  }
  return pixels;
}

/** Return the sRGB bytes of an Oklab colour. */
function rgb(lightness, a, b) {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const linear = [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
  return linear.map((part) => {
    const inside = Math.min(1, Math.max(0, part));
    return Math.round(255 * (inside <= 0.0031308 ? 12.92 * inside : 1.055 * inside ** (1 / 2.4) - 0.055));
  });
}
