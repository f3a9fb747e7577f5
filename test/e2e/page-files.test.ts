// A database of pages through a real controller: its changed pages, its page tags in the vault, an agent that lost its cache, and
// the restore on another host.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Agent } from '@holdfast/agent/agent';
import { startTestController, type TestController } from '@holdfast/controller/testing/test-controller';
import type { JobSummary } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { expect } from 'chai';
import { outcomeOf, startEnrolledAgent } from '../fleet/in-process-agent.ts';

const DOMAIN = 'default';
const SOURCE = 'web-1/app';

describe('a database of pages', function pages() {
  this.timeout(60_000);
  let dir: string;
  let path: string;
  let test: TestController;
  const agents: Agent[] = [];

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'holdfast-pages-'));
    path = join(dir, 'app.db');
    change(`create table t(id integer primary key, note text);
      with recursive c(i) as (select 1 union all select i + 1 from c where i < 40000)
      insert into t select i, hex(randomblob(100)) from c`);
    test = await startTestController();
    for (const host of ['web-1', 'web-2']) agents.push(await startEnrolledAgent(test, { dir, host }));
    const settings = [
      { name: 'every', value: 'off' },
      { name: 'path', value: path },
    ];
    const spec = { name: 'app', type: { $case: 'engine' as const, value: { type: 'sqlite', settings } } };
    await test.owner.addSource({ domain: DOMAIN, host: 'web-1', spec });
  });
  after(async () => {
    for (const agent of agents) await agent.stop();
    await test.close();
    rmSync(dir, { recursive: true });
  });

  function change(script: string): void {
    const database = new DatabaseSync(path);
    database.exec(script);
    database.close();
  }

  async function backUp(): Promise<JobSummary> {
    const { jobId } = await test.owner.startBackup({ domain: DOMAIN, source: SOURCE });
    const outcome = await outcomeOf(test, jobId);
    expect(outcome.result).to.equal('done');
    return outcome.summary!;
  }

  it('costs what changed, also when the agent has lost what it knew, and is verified and restored elsewhere', async () => {
    const first = await backUp();
    expect(Number(first.bytesTotal)).to.be.greaterThan(8_000_000);
    change("update t set note = 'changed' where id in (7, 20000, 39000)");
    expect(Number((await backUp()).bytesNew)).to.be.within(3 * 4096, 6 * 4096);
    change("update t set note = 'again' where id in (8, 30000)");
    rmSync(join(dir, 'web-1', 'cache'), { recursive: true });
    expect(Number((await backUp()).bytesNew)).to.be.within(2 * 4096, 5 * 4096);

    const verify = await test.owner.startVerify({ domain: DOMAIN, source: SOURCE });
    expect((await outcomeOf(test, verify.jobId)).result).to.equal('done');
    const target = join(dir, 'again');
    const restore = await test.owner.startRestore({ domain: DOMAIN, source: SOURCE, toHost: 'web-2', target });
    expect((await outcomeOf(test, restore.jobId)).result).to.equal('done');
    const back = new DatabaseSync(join(target, 'app.db'), { readOnly: true });
    expect(back.prepare('pragma integrity_check').get()).to.deep.include({ integrity_check: 'ok' });
    const notes = back.prepare("select id, note from t where note in ('changed', 'again') order by id").all();
    expect(notes.map((row) => [row['id'], row['note']])).to.deep.equal([
      [7, 'changed'],
      [8, 'again'],
      [20_000, 'changed'],
      [30_000, 'again'],
      [39_000, 'changed'],
    ]);
    back.close();
  });
});
