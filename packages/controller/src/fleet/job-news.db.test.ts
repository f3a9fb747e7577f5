import { expect } from 'chai';
import pg from 'pg';

import { openTestCatalog } from '../testing/test-catalog.ts';
import { openFleetEvents } from './fleet-events.ts';
import { openJobNewsDesk } from './job-news.ts';
import { finishJob, queueJob } from './jobs.ts';

describe('news of jobs', () => {
  it('14 a job that says nothing has its state said again, until it ends', async () => {
    const catalog = await openTestCatalog();
    const events = await openFleetEvents(catalog);
    const pool = new pg.Pool({ ...catalog.connection, max: 1 });
    try {
      await pool.query(`insert into domain (id, name, managed) values ('d', 'd', false)`);
      await pool.query(`insert into host (id, domain_id, name, state) values ('h', 'd', 'web-1', 'enrolled')`);
      await pool.query(`insert into source (id, host_id, name, spec) values ('s', 'h', 'site', '')`);
      const jobId = await catalog.transaction((client) =>
        queueJob(client, {
          domainId: 'd',
          hostId: 'h',
          sourceId: 's',
          kind: 'restore',
          requestedBy: 'x',
          request: () => Buffer.alloc(0),
        }),
      );
      const desk = openJobNewsDesk(catalog.pool, events, { lookAgainMs: 5, sayAgainMs: 1 });
      const said: string[] = [];
      for await (const news of desk.watch(jobId, new AbortController().signal)) {
        if (news.kind !== 'state') continue;
        said.push(news.job.state);
        if (said.length === 3)
          await finishJob(catalog.pool, jobId, 'h', { state: 'done', outcome: null, errorMessage: '' });
      }
      expect(said.slice(0, 3)).to.deep.equal(['queued', 'queued', 'queued']);
      expect(said.at(-1)).to.equal('done');
      expect(said.filter((state) => state === 'done')).to.have.length(1);
    } finally {
      await pool.end();
      await events.close();
      await catalog.close();
    }
  });
});
