import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect as connectTcp, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { createLogger } from "@toolyard/service-kit";
import { describeOnMongodb, ownMongodb, withWayToMongodb, type OwnMongodb } from "@toolyard/testing/mongodb.ts";
import { freePort } from "@toolyard/testing/ports.ts";
import { expect, onTestFinished, test } from "vitest";
import { orUnavailable } from "./conflicts.ts";
import { openMongodb } from "./connection.ts";
import { mongodbFailureOf, mongodbUnavailable } from "./failures.ts";

const PASSWORD = "hunter2";

function own(): OwnMongodb {
  const database = ownMongodb();
  onTestFinished(() => database.close());
  return database;
}

const nameOf = (url: string) => /\/([\w-]+)\?/.exec(url)?.[1] ?? "";
const openOnce = (url: string) =>
  openMongodb({
    settings: { url, ca: null },
    name: "test",
    logger: createLogger({ level: "silent", name: "t" }),
    startMs: 0,
  });

test.each([
  [`mongodb://u:${PASSWORD}@127.0.0.1:1/x?connect=nowhere`, /options that MongoDB's driver does not take: connect\.$/],
  [`mongodb://u:${PASSWORD}@127.0.0.1:1/x?tls=true&maxPoolSize=${PASSWORD}`, /does not take: maxPoolSize\.$/],
  [`mongodb://u:${PASSWORD}@127.0.0.1:99999/x`, /its host cannot be resolved, or is none\.$/],
  [`mongodb://u:${PASSWORD}@nohost.invalid/x`, /host name is not known/],
])("a start with %s says what is wrong, and repeats no password", async (url, reason) => {
  const failed = openOnce(url);
  await expect(failed).rejects.toThrow(/^MONGODB_URL: /);
  await expect(failed).rejects.toThrow(reason);
  await expect(failed).rejects.not.toThrow(PASSWORD);
});

test("a start without a server says that nothing listens there, and that nothing was begun", async () => {
  const failed = openOnce(`mongodb://127.0.0.1:${await freePort()}`);
  await expect(failed).rejects.toThrow(/connection refused/);
  const error: unknown = await failed.catch((thrown: unknown) => thrown);
  expect(mongodbUnavailable(error)).toMatchObject({
    extensions: { code: "UPSTREAM_UNAVAILABLE", retryAfterSeconds: 2 },
  });
});

describeOnMongodb("a connection to MongoDB", () => {
  test("is refused with a wrong user, and repeats no password", async () => {
    const failed = openOnce(ownMongodb().url.replace("mongodb://", `mongodb://nobody:${PASSWORD}@`));
    await expect(failed).rejects.toThrow(/refuses user and password/);
    await expect(failed).rejects.not.toThrow(PASSWORD);
    expect(mongodbFailureOf(await failed.catch((thrown: unknown) => thrown))).toBe("refused");
  });

  test(
    "fails and is unhealthy while the server is away, and serves and is healthy when it is back",
    () =>
      withWayToMongodb(async (way) => {
        const database = own();
        const mongodb = await database.open({ url: way.url(nameOf(database.url)) });
        expect(await mongodb.health()).toMatchObject({ name: "mongodb", status: "healthy", essential: false });
        const rows = mongodb.connection.collection("rows");
        await rows.insertOne({ kept: 1 });
        await way.close();
        expect(mongodbFailureOf(await rows.countDocuments().catch((thrown: unknown) => thrown))).toMatch(
          /unreached|lost/,
        );
        expect(await mongodb.health()).toMatchObject({
          status: "unhealthy",
          detail: expect.stringMatching(/^(It|Nothing) .*MONGODB_URL/),
        });
        expect(JSON.stringify(await mongodb.health())).not.toContain("127.0.0.1");
        await way.open();
        await expect.poll(() => mongodb.health(), { timeout: 20_000 }).toMatchObject({ status: "healthy" });
        expect(await rows.countDocuments()).toBe(1);
      }),
    60_000,
  );

  test(
    "says within seconds that a server does not answer which is held, and serves when it goes on",
    () =>
      withWayToMongodb(async (way) => {
        const database = own();
        const mongodb = await database.open({ url: way.url(nameOf(database.url)) });
        way.pause();
        expect(await mongodb.health()).toMatchObject({ status: "unhealthy" });
        way.resume();
        await expect.poll(() => mongodb.health(), { timeout: 20_000 }).toMatchObject({ status: "healthy" });
      }),
    60_000,
  );

  test("runs transactions again that were in each other's way, and keeps nothing of one that throws", async () => {
    const database = own();
    const [one, other] = [await database.open(), await database.open()];
    const counters = one.connection.collection<{ _id: string; n: number }>("counters");
    await counters.insertOne({ _id: "a", n: 0 });
    const increment = (mongodb: typeof one) =>
      mongodb.transaction(async (session) => {
        const mine = mongodb.connection.collection<{ _id: string; n: number }>("counters");
        const { n = 0 } = (await mine.findOne({ _id: "a" }, { session })) ?? {};
        await mine.updateOne({ _id: "a" }, { $set: { n: n + 1 } }, { session });
      });
    await Promise.all(Array.from({ length: 6 }, (_, n) => increment(n % 2 === 0 ? one : other)));
    expect(await counters.findOne({ _id: "a" })).toMatchObject({ n: 6 });
    const failing = one.transaction(async (session) => {
      await counters.updateOne({ _id: "a" }, { $set: { n: 0 } }, { session });
      throw new Error("given up");
    });
    await expect(failing).rejects.toThrow("given up");
    expect(await counters.findOne({ _id: "a" })).toMatchObject({ n: 6 });
    expect(mongodbFailureOf(await counters.insertOne({ _id: "a", n: 1 }).catch((thrown: unknown) => thrown))).toBe(
      "unique-violation",
    );
  });

  test("has operations wait for a transaction that is in their way, and gives up one whose time is over", async () => {
    const database = own();
    const [one, other] = [await database.open(), await database.open()];
    const names = (mongodb: typeof one) => mongodb.connection.collection<{ _id: string }>("names");
    await names(one).insertOne({ _id: "first" });
    const session = one.connection.getClient().startSession();
    onTestFinished(() => session.endSession());
    session.startTransaction();
    await names(one).insertOne({ _id: "a" }, { session });
    const brief = other.transaction((own) => names(other).insertOne({ _id: "a" }, { session: own }), { withinMs: 0 });
    expect(mongodbFailureOf(await brief.catch((thrown: unknown) => thrown))).toBe("conflict");
    const write = orUnavailable(() => names(other).insertOne({ _id: "a" }));
    await session.abortTransaction();
    expect(await write).toMatchObject({ insertedId: "a" });
  });

  test("goes by TLS where MONGODB_CA_FILE is set, and only to who has a certificate of it", async () => {
    const folder = mkdtempSync(join(tmpdir(), "toolyard-tls-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const [key, certificate] = [join(folder, "key.pem"), join(folder, "certificate.pem")];
    const made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    const names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
    const { error } = spawnSync("openssl", [...made, ...names, "-keyout", key, "-out", certificate]);
    if (error) throw error;
    const database = own();
    const { hostname, port } = new URL(database.url.replace(/^mongodb:/, "http:"));
    const [keyText, certificateText] = [readFileSync(key, "utf8"), readFileSync(certificate, "utf8")];
    const relay = createTlsServer({ key: keyText, cert: certificateText }, (near) => {
      const far = connectTcp({ host: hostname, port: Number(port || 27_017) });
      near.pipe(far).pipe(near);
      for (const socket of [near, far]) socket.on("error", () => socket.destroy());
    }).listen(0);
    onTestFinished(() => void relay.close());
    await once(relay, "listening");
    const url = `mongodb://localhost:${(relay.address() as AddressInfo).port}/?directConnection=true`;
    const open = (ca: string | null, at: string) =>
      openMongodb({
        settings: { url: at, ca },
        name: "test",
        logger: createLogger({ level: "silent", name: "t" }),
        startMs: 0,
      });
    const mongodb = await open(certificateText, url);
    expect(await mongodb.health()).toMatchObject({ status: "healthy" });
    await mongodb.close();
    await expect(open(null, `${url}&tls=true`)).rejects.toThrow(/TLS with it fails/);
  });
});
