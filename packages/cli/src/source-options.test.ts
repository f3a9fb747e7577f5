import { expect } from 'chai';
import type { SetSourceRequest } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { startFakeController } from './testing/fake-controller.ts';
import { runCli } from './testing/run-cli.ts';

describe('the settings of a source', () => {
  it('source set sends only what was named, and clears with --no-…', async () => {
    const asked: SetSourceRequest[] = [];
    const controller = await startFakeController({
      setSource: (request) => {
        asked.push(request);
        return Promise.resolve({ source: { host: 'web-1', name: 'site' } });
      },
    });
    const set = async (line: string) => await runCli(['source', 'set', 'web-1/site', ...line.split(' ')], controller);
    const changed = await set('--exclude *.log --exclude /cache/ --limit none --no-continuous --no-before');
    expect(changed).to.include({ code: 0, stderr: '' });
    expect(changed.stdout).to.equal('Changed excludes, continuous, before, limit bytes per second of web-1/site.\n');
    const engine = await set('--dsn host=/run --set walKeep=1GiB --set baseEvery=');
    expect(engine.stdout).to.equal('Changed settings of web-1/site.\n');
    expect(asked.pop()).to.deep.include({ fields: ['settings'] });
    expect((await set('--dsn host=/run --exclude a')).code).to.equal(2);
    await set('--no-exclude --path /srv/a --compression lz4 --level 3');
    expect((await set('--level 3')).stderr).to.contain('--level goes with --compression');
    expect((await set('--path srv')).code).to.equal(2);
    expect((await runCli(['source', 'set', 'web-1/site'], controller)).stderr).to.contain('nothing is to be changed');
    controller.stop();
    expect(asked.map(({ fields }) => fields)).to.deep.equal([
      ['excludes', 'continuous', 'before', 'limit_bytes_per_second'],
      ['paths', 'excludes', 'compression'],
    ]);
    expect(asked[0]?.spec?.type?.value).to.deep.include({
      excludes: ['*.log', '/cache/'],
      continuous: false,
      paths: [],
    });
    expect(asked[1]?.spec?.type?.value).to.deep.include({ excludes: [], paths: ['/srv/a'] });
    expect(asked[1]?.spec?.compression).to.deep.equal({ codec: 'lz4', level: 3 });
  });
});
