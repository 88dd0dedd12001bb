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
  if (theme === "light" || theme === "dark") wearTheme(theme);
  wearStyles(styles?.variables ?? {});
  for (const side of ["top", "right", "bottom", "left"]) {
    const inset = safeAreaInsets?.[side];
    if (Number.isFinite(inset) && inset >= 0) document.body.style.setProperty(`--inset-${side}`, `${Math.min(inset, 200)}px`);
  }
}

// The page's style follows the reader's system; here the host decides, so its conditions on the system's scheme are settled.
function wearTheme(theme) {
  document.documentElement.style.colorScheme = theme;
  for (const sheet of document.styleSheets) settle(sheet.cssRules, theme);
}

const settled = new WeakMap(); // media rule -> the scheme that it was written for

function settle(rules, theme) {
  for (const rule of rules) {
    if (!(rule instanceof CSSMediaRule)) continue;
    const scheme = settled.get(rule) ?? /prefers-color-scheme:\s*(light|dark)/.exec(rule.media.mediaText)?.[1];
    if (!scheme) continue;
    settled.set(rule, scheme);
    rule.media.mediaText = scheme === theme ? "all" : "not all";
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
