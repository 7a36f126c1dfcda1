// Called anew whenever the pictures change; the seam stays where it was dragged to.
export default function ({ data, parentElement }) {
  const frame = parentElement.querySelector(".frame");
  const swipe = frame.querySelector(".swipe");
  const range = swipe.querySelector("input");

  frame.classList.toggle("two", data.tiles.length === 2);
  frame.style.setProperty("--aspect", data.aspect);
  [["under", "left"], ["over", "right"]].forEach(([image, caption], side) => {
    const { title, picture } = data.swipe[side];
    swipe.querySelector("." + image).src = picture;
    swipe.querySelector("." + image).alt = title;
    swipe.querySelector("." + caption).textContent = title;
  });
  range.setAttribute("aria-label", `From ${data.swipe[0].title} to ${data.swipe[1].title}`);
  const move = () => swipe.style.setProperty("--at", range.value + "%");
  range.oninput = move;
  move();
  // Fine steps are for the pointer; a key moves the seam by what one sees.
  range.onkeydown = (event) => {
    const step = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2 }[event.key];
    if (step === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    range.value = Number(range.value) + step;
    move();
  };
  // A finger that goes on to scroll the page takes its pointer away: then the seam goes back.
  let before = range.value;
  range.onpointerdown = () => { before = range.value; };
  range.onpointercancel = () => {
    range.value = before;
    move();
  };

  frame.querySelectorAll(".tile").forEach((tile) => tile.remove());
  for (const { title, picture } of data.tiles) {
    const tile = document.createElement("figure");
    const image = document.createElement("img");
    const caption = document.createElement("figcaption");
    tile.className = "tile";
    image.src = picture;
    image.alt = caption.textContent = title;
    tile.append(image, caption);
    frame.append(tile);
  }
}
