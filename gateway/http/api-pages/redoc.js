/* Redoc, in the system's colours. It knows only one set itself, for light ones. */

const DARK_COLORS = {
  colors: {
    primary: { main: "#8ab4f8" },
    success: { main: "#57d38c" },
    error: { main: "#ff8a80" },
    gray: { 50: "#1c1f22", 100: "#2b2f33" },
    border: { light: "#2b2f33", dark: "#3c4146" },
    text: { primary: "#e6e6e6", secondary: "#a8adb3" },
    responses: {
      success: { color: "#57d38c", backgroundColor: "#57d38c1a" },
      error: { color: "#ff8a80", backgroundColor: "#ff8a801a" },
      redirect: { color: "#ffca66", backgroundColor: "#ffca661a" },
      info: { color: "#8ecdf8", backgroundColor: "#8ecdf81a" },
    },
  },
  schema: {
    linesColor: "#5b6b8c",
    typeNameColor: "#a8adb3",
    typeTitleColor: "#a8adb3",
    requireLabelColor: "#ff8a80",
    nestedBackground: "#181b1e",
    arrow: { color: "#e6e6e6" },
  },
  typography: { code: { color: "#ff8a80", backgroundColor: "#2b2f33" }, links: { color: "#8ab4f8" } },
  sidebar: { backgroundColor: "#16181b", textColor: "#e6e6e6" },
  rightPanel: {
    backgroundColor: "#191d20",
    servers: { overlay: { backgroundColor: "#26292d", textColor: "#e6e6e6" }, url: { backgroundColor: "#16181b" } },
  },
  fab: { backgroundColor: "#26292d", color: "#8ab4f8" },
};

const font = "system-ui, sans-serif";
const dark = matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", () => location.reload());
const { typography, ...colors } = dark.matches ? DARK_COLORS : {};

globalThis.Redoc.init(
  document.querySelector("link[rel=service-desc]").href,
  { theme: { ...colors, typography: { ...typography, fontFamily: font, headings: { fontFamily: font } } } },
  document.getElementById("reference"),
);
