// The look of the host: its theme, its colours and its font in place of ours, where it tells of them.

const COLOURS = {
  "--color-background-primary": "--card",
  "--color-background-secondary": "--ground",
  "--color-text-primary": "--text",
  "--color-text-secondary": "--quiet",
  "--color-border-primary": "--rule",
  "--color-text-info": "--accent",
  "--color-text-success": "--good",
  "--color-text-warning": "--warn",
  "--color-text-danger": "--bad",
};
const MAX_VALUE = 300;

/** Takes on what a host context tells; what it leaves out stays as it is. */
export function wear({ theme, styles, safeAreaInsets }) {
  if (theme === "light" || theme === "dark") document.documentElement.style.colorScheme = theme;
  wearStyles(styles?.variables ?? {});
  for (const side of ["top", "right", "bottom", "left"]) {
    const inset = safeAreaInsets?.[side];
    if (Number.isFinite(inset) && inset >= 0) document.body.style.setProperty(`--inset-${side}`, `${Math.min(inset, 200)}px`);
  }
}

function wearStyles(variables) {
  const colour = (name) => usable("color", variables[name]);
  // Their text may be as bright as our ground: both are theirs, or both are ours.
  if (colour("--color-background-primary") && colour("--color-text-primary")) {
    for (const [theirs, ours] of Object.entries(COLOURS)) {
      if (colour(theirs)) document.documentElement.style.setProperty(ours, variables[theirs]);
    }
  }
  // Their fonts' own files lie elsewhere, and this page asks nobody for anything.
  const font = variables["--font-sans"];
  if (usable("font-family", font)) document.body.style.fontFamily = font;
}

function usable(property, value) {
  return typeof value === "string" && value.length <= MAX_VALUE && CSS.supports(property, value);
}
