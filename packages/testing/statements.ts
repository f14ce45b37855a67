import { observeStatements, type ObservedStatement } from "@toolyard/storage";

/** The statements that this process runs while `work` does, in order: nothing else may run meanwhile. Writes' BEGIN and COMMIT are among them. */
export async function statementsOf(work: () => Promise<unknown>): Promise<ObservedStatement[]> {
  const statements: ObservedStatement[] = [];
  const end = observeStatements((statement) => statements.push(statement));
  try {
    await work();
    return statements;
  } finally {
    end();
  }
}
