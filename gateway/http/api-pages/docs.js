/* Scalar, which asks nothing of anybody but this server. */

const reference = document.getElementById("reference");
reference.textContent = "";
globalThis.Scalar.createApiReference(reference, {
  url: document.querySelector("link[rel=service-desc]").href,
  authentication: { preferredSecurityScheme: "bearer" },
  withDefaultFonts: false,
  telemetry: false,
  agent: { disabled: true },
  mcp: { disabled: true },
  hideClientButton: true,
  showDeveloperTools: "never",
});
