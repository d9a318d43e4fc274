// What tests ask a report's page, loaded into it: measures only, judgements stand in the tests.
(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const name = (e) => `${e.localName}.${e.className} ${e.textContent.trim().slice(0, 40)}`;

  // The screen's colour of a value such as "rgb(1, 2, 3)", as three numbers; null if transparent.
  const parts = (value) => {
    const found = (value.match(/[\d.]+/g) || []).map(Number);
    return found.length < 3 || found[3] === 0 ? null : found.slice(0, 3);
  };
  const light = (colour) => {
    const linear = colour.map((p) => p / 255).map((p) => (p <= 0.04045 ? p / 12.92 : ((p + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const ratio = (a, b) => {
    const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const ground = (e) => {
    for (let at = e; at; at = at.parentElement) {
      const colour = parts(getComputedStyle(at).backgroundColor);
      if (colour) return colour;
    }
    return [255, 255, 255];
  };
  // What is painted below the middle of a word in a drawing, topmost shape last.
  const painted = (text) => {
    const drawing = text.ownerSVGElement, box = text.getBBox();
    const middle = new DOMPoint(box.x + box.width / 2, box.y + box.height / 2);
    const below = [...drawing.querySelectorAll("path, rect")]
      .filter((shape) => shape.getAttribute("fill") !== "none" && shape.isPointInFill(middle))
      .map((shape) => parts(getComputedStyle(shape).fill));
    return below.length ? below.at(-1) : ground(drawing);
  };

  window.report = {
    unfold: () => all("details").forEach((e) => (e.open = true)),

    // Contrast of the words that each selector names, and of all in drawings, with what is below.
    contrasts: (selectors) => selectors.map((selector) => {
      const e = document.querySelector(selector);
      return [name(e), ratio(parts(getComputedStyle(e).color), ground(e))];
    }),
    drawn: () => all("svg text, svg tspan").map((e) =>
      [name(e), ratio(parts(getComputedStyle(e).fill), painted(e.closest("text")))]),

    // Whether a column's header has data below it; rows that span the table aside.
    hasData: (selector) => {
      const head = document.querySelector(selector), place = head.cellIndex;
      return all("tr").some((row) => row.closest("table") === head.closest("table")
        && row.cells[place]?.localName === "td" && row.cells[place].textContent.trim() !== "");
    },

    // Everything the Tab key should reach, in document order, numbered for `focused`.
    numberStops: () => {
      const stops = all("a[href], summary, [tabindex='0']").filter((e) => e.checkVisibility());
      stops.forEach((e, place) => (e.dataset.stop = place));
      return stops.length;
    },
    focused: () => {
      const e = document.activeElement, style = getComputedStyle(e), box = e.getBoundingClientRect();
      return {
        stop: e.dataset.stop === undefined ? null : Number(e.dataset.stop),
        name: name(e),
        outline: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth),
        contrast: ratio(parts(style.outlineColor), ground(e.parentElement)),
        seen: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
      };
    },

    sideways: () => document.scrollingElement.scrollWidth - document.documentElement.clientWidth,
    beyond: (width) => all("body *").filter((e) => e.getBoundingClientRect().right > width + 1).map(name),
    clipped: () => all("body *").filter((e) => {
      const style = getComputedStyle(e);
      return !(e instanceof SVGElement) && ["hidden", "clip"].includes(style.overflowX)
        && style.clipPath === "none" && (e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1);
    }).map(name),
    tablesOutside: () => all("table").filter((e) => !e.closest(".scroll")
      && e.getBoundingClientRect().right > innerWidth).map(name),
    broken: (selector) => all(selector).filter((e) => e.getClientRects().length > 1).map(name),
  };
})();
