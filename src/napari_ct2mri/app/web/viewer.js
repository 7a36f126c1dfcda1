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
  range.oninput = () => swipe.style.setProperty("--at", range.value + "%");
  range.oninput();

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
