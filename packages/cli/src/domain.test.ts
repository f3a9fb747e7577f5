import { expect } from 'chai';
import { startFakeController } from './testing/fake-controller.ts';
import { runCli } from './testing/run-cli.ts';

describe('holdfast domain', () => {
  it('domain add says what comes next, more so for a sealed one; domain ls shows which is which', async () => {
    const asked: unknown[] = [];
    const controller = await startFakeController({
      addDomain: (request) => {
        asked.push(request);
        return Promise.resolve({ domain: { ...request, id: 'd-1' } });
      },
      listDomains: () =>
        Promise.resolve({
          domains: [
            { name: 'default', hosts: 2, snapshots: 7n, storedBytes: 2048n },
            { name: 'vaulted', sealed: true, hosts: 1, quotaBytes: 1024n },
          ],
        }),
    });
    const sealed = await runCli(['domain', 'add', 'vaulted', '--sealed'], controller);
    expect(sealed.stdout).to.contain('holdfast-agent secret new FILE').and.contain('--domain-secret-file FILE');
    expect((await runCli(['domain', 'add', 'plain'], controller)).stdout).to.equal(
      'Added plain.\nAdd its first host with: holdfast host add HOST --domain plain\n',
    );
    const { stdout } = await runCli(['domain', 'ls'], controller);
    expect(stdout)
      .to.match(/default +managed +2 +7 +2\.00 KiB\n/)
      .and.match(/vaulted +sealed +1 +0 +0 B +1\.00 KiB\n/);
    controller.stop();
    expect(asked).to.deep.equal([
      { name: 'vaulted', sealed: true },
      { name: 'plain', sealed: false },
    ]);
  });
});
