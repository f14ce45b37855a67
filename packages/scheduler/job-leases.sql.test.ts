import { openTwice } from "./fixtures/database.ts";
import { jobLeasesContract } from "./job-leases.contract.ts";
import { createSqlJobLeases } from "./job-leases.sql.ts";

jobLeasesContract("SQLite", async () => {
  const { databases, close } = await openTwice();
  const [first, second] = databases;
  return {
    leases: [createSqlJobLeases(first), createSqlJobLeases(second)],
    transaction: (work) => first.transaction(work),
    close,
  };
});
