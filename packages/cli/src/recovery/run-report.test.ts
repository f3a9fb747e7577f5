import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { keyFingerprint, signReport } from '@holdfast/shared/recovery/report-signature';
import { encodeReport, makeReport } from '@holdfast/shared/recovery/report';
import type { RecoveryServiceImplementation } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import { startFakeController, type FakeController } from '../testing/fake-controller.ts';
import { runCli } from '../testing/run-cli.ts';

const AT = Date.UTC(2026, 10, 23, 4);
const RUN = '7d0c2c9e-1111-4111-8111-111111111111';

describe('holdfast run report', () => {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-report-'));
  let controller: FakeController | undefined;
  afterEach(() => controller?.stop());
  after(() => rmSync(directory, { recursive: true }));
  const cli = async (words: string, given: Partial<RecoveryServiceImplementation>) => {
    controller?.stop();
    controller = await startFakeController({}, 0, given);
    return await runCli(words.split(' '), controller);
  };

  const { privateKey } = generateKeyPairSync('ed25519');
  const at = { startedAtMs: AT, finishedAtMs: AT + 9 };
  const signed = signReport(
    encodeReport(
      makeReport({
        controllerVersion: '0.1.0',
        domain: 'default',
        plan: {
          id: 'p',
          name: 'shop',
          owner: 'ops',
          revision: 1,
          appliedAtMs: 1,
          appliedBy: 'erika',
          document: 'x',
          rtoMs: 1,
          rpoMs: 1,
        },
        run: {
          ...at,
          id: RUN,
          mode: 'drill',
          state: 'done',
          reason: '',
          fromHost: 'web-1',
          toHost: 'web-2',
          epoch: 1,
          startedBy: 'erika',
          recoveryPointMs: AT,
          pointFindings: [],
          moments: {},
        },
        steps: [],
        events: [],
      }),
    ),
    privateKey,
  );
  const answers: Partial<RecoveryServiceImplementation> = {
    getReport: ({ run: id }) => Promise.resolve(id === '' ? { publicKey: signed.publicKey } : { ...signed }),
  };
  const verify = async (text: string, options = '', given: Partial<RecoveryServiceImplementation> = answers) => {
    const path = join(directory, 'report');
    writeFileSync(path, text);
    return await cli(`run report --verify ${path}${options}`, given);
  };

  it('is Markdown for people, JSON for programs and one page to show; each of the last two proves itself', async () => {
    expect((await cli('run report 7d0c', answers)).stdout).to.match(/^# Drill of shop\n/);
    const json = (await cli('run report 7d0c --json', answers)).stdout;
    const html = (await cli('run report 7d0c --html', answers)).stdout;
    for (const text of [json, html]) {
      expect(await verify(text)).to.include({ code: 0, stderr: '' });
      expect(await verify(text, ` --key ${keyFingerprint(signed.publicKey)}`)).to.include({ code: 0 });
    }
    expect((await cli('run report --public-key', answers)).stdout)
      .to.contain('BEGIN PUBLIC KEY')
      .and.contain(keyFingerprint(signed.publicKey));
  });

  it('is refused when a letter was changed, in the data or only in what the page shows, or another key signed it', async () => {
    const json = (await cli('run report 7d0c --json', answers)).stdout;
    const html = (await cli('run report 7d0c --html', answers)).stdout;
    expect(await verify(json.replace('"startedBy":"erika"', '"startedBy":"ericc"'))).to.include({ code: 1 });
    expect((await verify(html.replace('by erika</dd>', 'by nobody</dd>'))).stderr).to.contain('what the page shows');
    const forged = signReport(signed.report, generateKeyPairSync('ed25519').privateKey);
    const other: Partial<RecoveryServiceImplementation> = {
      getReport: () => Promise.resolve({ publicKey: forged.publicKey }),
    };
    expect((await verify(json, '', other)).stderr).to.contain('another key');
    expect(await verify(json, ` --key ${'0'.repeat(64)}`)).to.include({ code: 1 });
    expect(await verify('{}')).to.include({ code: 2 });
  });

  it('without a controller nobody vouches for the key, unless it is named', async () => {
    const path = join(directory, 'report');
    await verify((await cli('run report 7d0c --json', answers)).stdout);
    const alone = (...more: string[]) =>
      runCli(['run', 'report', '--verify', path, ...more], { address: '127.0.0.1:1' });
    expect(await alone()).to.include({ code: 3 });
    expect(await alone('--key', keyFingerprint(signed.publicKey))).to.include({ code: 0 });
  });
});
