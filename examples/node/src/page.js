export function title(count) {
  return count === 1 ? "1 note" : `${count} notes`;
}

if (typeof document !== "undefined") {
  document.title = title(0);
}
