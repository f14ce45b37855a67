import { onEachDatabase } from "@toolyard/testing/sql-stores.ts";
import { jobLeasesContract } from "./job-leases.contract.ts";
import { createSqlJobLeases, jobEntity } from "./job-leases.sql.ts";

onEachDatabase((name, open) =>
  jobLeasesContract(name, async () => {
    const { databases, opened, close } = await open({ entities: [jobEntity] }, createSqlJobLeases);
    return { leases: opened, transaction: (work) => databases[0].transaction(work), close };
  }),
);
