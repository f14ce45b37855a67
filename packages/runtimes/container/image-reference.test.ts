import { expect, test } from "vitest";
import { imageReference } from "./image-reference.ts";

test.each([
  ["weather", null, "weather:latest", "docker.io"],
  ["acme/weather:2", null, "acme/weather:2", "docker.io"],
  ["weather:2", "ghcr.io/acme", "ghcr.io/acme/weather:2", "ghcr.io"],
  ["team/weather", "localhost:5000", "localhost:5000/team/weather:latest", "localhost:5000"],
  ["quay.io/acme/weather", "ghcr.io/acme", "quay.io/acme/weather:latest", "quay.io"],
  ["localhost/weather:1", "ghcr.io", "localhost/weather:1", "localhost"],
  ["host:5000/weather", null, "host:5000/weather:latest", "host:5000"],
  ["weather@sha256:ab", "ghcr.io", "ghcr.io/weather@sha256:ab", "ghcr.io"],
])("%s with the registry %s is %s of %s", (image, registry, name, host) => {
  expect(imageReference(image, registry)).toEqual({ name, registry: host });
});
