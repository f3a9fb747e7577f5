// A test that ran out of time leaves a server, a socket or a timer behind, and that would keep the whole run from ending:
// it ends here, failed, and says what held it.
const PATIENCE_MS = 30_000;

export const mochaHooks = {
  afterAll() {
    setTimeout(() => {
      const held = process.getActiveResourcesInfo().toSorted().join(', ');
      process.stderr.write(`\nThe tests are over, but something still runs after ${PATIENCE_MS / 1000} s: ${held}\n`);
      process.exit(1);
    }, PATIENCE_MS).unref();
  },
};
