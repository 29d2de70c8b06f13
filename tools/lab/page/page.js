"use strict";
// Each mark's <title> becomes a text that shows at once, under the pointer or while the arrow keys step through a figure.
const tip = document.getElementById("tip");
const hide = () => { tip.hidden = true; for (const one of document.querySelectorAll(".at")) one.classList.remove("at"); };
const show = (mark) => {
  hide();
  if (!mark) return;
  mark.classList.add("at");
  tip.textContent = mark.dataset.tip;
  tip.hidden = false;
  const box = mark.getBoundingClientRect();
  const left = Math.min(Math.max(box.left + box.width / 2 - tip.offsetWidth / 2, 8), innerWidth - tip.offsetWidth - 8);
  const above = box.top - tip.offsetHeight - 8;
  tip.style.left = `${left + scrollX}px`;
  tip.style.top = `${(above > 0 ? above : box.bottom + 8) + scrollY}px`;
};
for (const figure of document.querySelectorAll("figure > svg")) {
  const [name, description] = figure.querySelectorAll(":scope > title, :scope > desc");
  figure.setAttribute("aria-label", `${name.textContent}. ${description.textContent}. Arrow keys step through the values.`);
  figure.removeAttribute("aria-labelledby");
  name.remove();
  const marks = [...figure.querySelectorAll(".mark")];
  for (const mark of marks) {
    const title = mark.querySelector("title");
    mark.dataset.tip = title ? title.textContent : "";
    if (title) title.remove();
    mark.addEventListener("pointerenter", () => show(mark));
    mark.addEventListener("click", () => show(mark));
    mark.addEventListener("pointerleave", hide);
  }
  let at = -1;
  figure.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") hide();
    if (!step || !marks.length) return;
    event.preventDefault();
    at = (Math.max(at, step > 0 ? -1 : 0) + step + marks.length) % marks.length;
    show(marks[at]);
  });
  figure.addEventListener("blur", () => { at = -1; hide(); });
}
addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details")) one.open = true; });
