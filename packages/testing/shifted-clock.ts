import { globSync } from "node:fs";

/** https://github.com/wolfcw/libfaketime: what the C library says of the time is shifted. */
const [libfaketime] = globSync("/usr/lib/{*-linux-gnu/,}faketime/libfaketimeMT.so.1");

/** Why processes have no clock but this host's; null: they can have one. */
export const noShiftedClock = libfaketime === undefined ? "libfaketime is not installed" : null;

const common = {
  LD_PRELOAD: libfaketime ?? "",
  // Those who wait do so by the monotonic clock, and files have the file system's own times.
  FAKETIME_DONT_FAKE_MONOTONIC: "1",
  NO_FAKE_STAT: "1",
};

/** The environment of a process whose clock is so many seconds ahead of this host's, or behind it. */
export const shiftedBy = (seconds: number) => ({ ...common, FAKETIME: signed(seconds) });

/** The same by what a file says, which the process reads once a second. */
export const shiftedByFile = (file: string) => ({
  ...common,
  FAKETIME_TIMESTAMP_FILE: file,
  FAKETIME_CACHE_DURATION: "1",
});

/** As libfaketime reads it. */
export const signed = (seconds: number) => `${seconds >= 0 ? "+" : ""}${seconds}`;
