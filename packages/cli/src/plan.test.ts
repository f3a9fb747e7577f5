import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { startFakeController, type FakeController } from './testing/fake-controller.ts';
import { runCli } from './testing/run-cli.ts';

describe('holdfast plan check', () => {
  const guide = readFileSync(new URL('../../../docs/plans.md', import.meta.url), 'utf8');
  const example = guide.split('```yaml\n')[1]!.split('```')[0]!;
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-plan-'));
  const file = join(directory, 'shop.yaml');
  let controller: FakeController;

  before(async () => {
    controller = await startFakeController({});
  });
  after(() => {
    controller.stop();
    rmSync(directory, { recursive: true });
  });

  it('says that a sound document is one', async () => {
    writeFileSync(file, example);
    const { stdout, code } = await runCli(['plan', 'check', file], controller);
    expect(stdout).to.equal(`${file}: plan shop, 13 steps: nothing is wrong with the document.\n`);
    expect(code).to.equal(0);
  });

  it('names file, line and field of what is wrong, and exits with 2', async () => {
    writeFileSync(file, example.replace('needs: [switch]', 'needs: [swich]'));
    const words = await runCli(['plan', 'check', file], controller);
    expect(words.stdout).to.match(/shop\.yaml:\d+:\d+: steps\[11\]\.needs\[0\]: the plan has no step "swich"/);
    expect(words.code).to.equal(2);
    const json = await runCli(['plan', 'check', file, '--json'], controller);
    expect(JSON.parse(json.stdout)).to.have.nested.property('findings[0].field', 'steps[11].needs[0]');
    expect(json.code).to.equal(2);
  });

  it('refuses a file that is not there', async () => {
    const { code, stderr } = await runCli(['plan', 'check', join(directory, 'none')], controller);
    expect(code).to.equal(2);
    expect(stderr).to.contain("can't be read");
  });
});
