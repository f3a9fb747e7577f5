import type { JobEvent } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { expect } from 'chai';
import pg from 'pg';

import { ScriptedAgent } from '../testing/scripted-agent.ts';
import { codeOf, startTestController, type TestController, type TestHost } from '../testing/test-controller.ts';
import { findJob, finishJob, queueJob, RUNNING_MAX, takeJobs } from './jobs.ts';

describe('control streams and jobs', () => {
  let test: TestController;
  let pool: pg.Pool;
  let host: TestHost;
  const agents: ScriptedAgent[] = [];

  beforeEach(async () => {
    test = await startTestController();
    pool = new pg.Pool({ ...test.database, max: 2 });
    host = await test.enrolHost('web-1');
    await test.owner.addSource({
      host: 'web-1',
      spec: { name: 'site', type: { $case: 'files', value: { paths: ['/srv'] } } },
    });
  });
  afterEach(async () => {
    for (const agent of agents.splice(0)) agent.outbox.end();
    await pool.end();
    await test.close();
  });

  const connect = (processId: string, hello?: object): ScriptedAgent => {
    const agent = new ScriptedAgent(test, host, processId, hello);
    agents.push(agent);
    return agent;
  };
  const events = async (jobId: string): Promise<JobEvent[]> => {
    const all: JobEvent[] = [];
    for await (const event of test.owner.watchJob({ jobId })) all.push(event);
    return all;
  };

  it('carries a job there and its outcome back; progress is told, and the result is acknowledged', async () => {
    const agent = connect('p1');
    expect((await agent.next('welcome')).protocol).to.equal(1);
    expect((await agent.next('sources')).sources.map((source) => source.name)).to.deep.equal(['site']);
    const { jobId } = await test.owner.startBackup({ source: 'web-1/site' });
    const watched = events(jobId);
    expect((await agent.next('job')).jobId).to.equal(jobId);
    expect(await codeOf(test.owner.startBackup({ source: 'web-1/site' })), 'JB1').to.equal('BUSY');
    agent.say({ $case: 'progress', value: { jobId, phase: 'scan', filesDone: 7n } });
    agent.say({ $case: 'finished', value: { jobId, outcome: { result: 'done', summary: { files: 7n } } } });
    expect((await agent.next('received')).jobId).to.equal(jobId);
    const last = (await watched).at(-1)?.kind;
    expect(last?.$case === 'outcome' && last.value.summary?.files).to.equal(7n);
    agent.say({ $case: 'finished', value: { jobId, outcome: { result: 'failed' } } });
    await agent.next('received');
    const { jobs } = await test.owner.listJobs({});
    expect(
      jobs.map((job) => job.state),
      'JB3',
    ).to.deep.equal(['done']);
  });

  it('JB3 a job whose result arrives while it is taken from the queue stays finished', async () => {
    const agent = connect('p1');
    await agent.next('welcome');
    const { jobId } = await test.owner.startBackup({ source: 'web-1/site' });
    await agent.next('job');
    const [finishing, taking] = [await pool.connect(), await pool.connect()];
    try {
      // An agent that was killed in the job: it goes back to the queue, and its result is on the way.
      await finishing.query(`update job set state = 'queued' where id = $1`, [jobId]);
      await finishing.query('begin');
      const { rows } = await finishing.query<{ host: string }>('select host_id as host from job where id = $1', [
        jobId,
      ]);
      const failed = { state: 'failed', outcome: null, errorMessage: 'the agent was restarted' } as const;
      expect(await finishJob(finishing, jobId, rows[0]!.host, failed)).to.equal(true);
      const taken = takeJobs(taking, rows[0]!.host);
      const waiting = `select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%update job%'`;
      while ((await finishing.query(waiting)).rowCount === 0) await finishing.query('select pg_stat_clear_snapshot()');
      await finishing.query('commit');
      expect(await taken).to.deep.equal([]);
      expect((await findJob(taking, jobId))?.state).to.equal('failed');
    } finally {
      finishing.release();
      taking.release();
    }
  });

  it('CH4 JB5 a host can finish only its own jobs', async () => {
    const agent = connect('p1');
    await agent.next('welcome');
    const { jobId } = await test.owner.startBackup({ source: 'web-1/site' });
    await agent.next('job');
    const stranger = new ScriptedAgent(test, await test.enrolHost('web-2'), 'p2');
    agents.push(stranger);
    stranger.say({ $case: 'finished', value: { jobId, outcome: { result: 'failed' } } });
    await stranger.next('received');
    expect((await test.owner.listJobs({})).jobs[0]?.state).to.equal('running');
  });

  it('CH1 a newer stream of the same process takes the place of the older one', async () => {
    const first = connect('p1');
    await first.next('welcome');
    const second = connect('p1');
    await second.next('welcome');
    expect(await first.ended()).to.equal('SESSION_ENDED');
    expect((await test.owner.getHost({ name: 'web-1' })).host?.state).to.equal('online');
  });

  it('CH3 21 a process that comes back after another took its place is a clone, refused and reported', async () => {
    for (const processId of ['p1', 'p2']) await connect(processId).next('welcome');
    expect(await connect('p1').ended()).to.equal('FAILED_PRECONDITION');
    const { attention } = await test.owner.getStatus({});
    expect(attention[0]).to.include({ level: 'critical', subject: 'web-1' });
  });

  it('refuses a protocol that it does not speak, and a stream without Hello', async () => {
    expect(await connect('p1', { protocolMin: 7, protocolMax: 9 }).ended()).to.equal('UNSUPPORTED_VERSION');
    const mute = test.control(host).connect(
      (async function* () {
        yield { kind: { $case: 'heartbeat' as const, value: {} } };
      })(),
    );
    const drained = codeOf(
      (async () => {
        for await (const _ of mute);
      })(),
    );
    expect(await drained).to.equal('PROTOCOL_VIOLATION');
  });

  it('JB4 a job that never arrived is sent again on the next stream', async () => {
    const first = connect('p1');
    await first.next('welcome');
    const { jobId } = await test.owner.startBackup({ source: 'web-1/site' });
    await first.next('job');
    const second = connect('p1', { runningJobs: [] });
    expect((await second.next('job')).jobId).to.equal(jobId);
  });

  it('44 a revocation ends the open control stream at once, and fails what ran', async () => {
    const agent = connect('p1');
    await agent.next('welcome');
    await test.owner.startBackup({ source: 'web-1/site' });
    await agent.next('job');
    await test.owner.revokeHost({ name: 'web-1' });
    expect(await agent.ended()).to.not.equal('none');
    expect(await connect('p1').ended()).to.equal('NOT_ALLOWED');
    expect((await test.owner.listJobs({})).jobs[0]?.state).to.equal('failed');
  });

  it('a cancelled job: asked of the agent while it runs, ended at once while it waits', async () => {
    const agent = connect('p1');
    await agent.next('welcome');
    const { jobId } = await test.owner.startBackup({ source: 'web-1/site' });
    await agent.next('job');
    await test.owner.cancelJob({ jobId });
    expect((await agent.next('cancel')).jobId).to.equal(jobId);
    agent.say({ $case: 'finished', value: { jobId, outcome: { result: 'cancelled' } } });
    expect((await events(jobId)).at(-1)?.kind?.$case).to.equal('outcome');
  });

  it('says so when the host is not connected', async () => {
    expect(await codeOf(test.owner.startBackup({ source: 'web-1/site' }))).to.equal('FAILED_PRECONDITION');
    expect(await codeOf(test.owner.startBackup({ source: 'web-1/none' }))).to.equal('NOT_FOUND');
  });

  it('JB2 a step of a recovery run waits for no other job', async () => {
    const { rows } = await pool.query<{ id: string; domain: string }>('select id, domain_id as domain from host');
    const { id: hostId, domain: domainId } = rows[0]!;
    const client = await pool.connect();
    try {
      const queue = (kind: 'discover' | 'step'): Promise<string> =>
        queueJob(client, { domainId, hostId, kind, requestedBy: 'test', request: () => Buffer.from('job') });
      for (let busy = 0; busy < RUNNING_MAX; busy++) await queue('discover');
      expect(await takeJobs(client, hostId)).to.have.length(RUNNING_MAX);
      await queue('discover');
      const step = await queue('step');
      expect((await takeJobs(client, hostId)).map(({ id }) => id)).to.deep.equal([step]);
    } finally {
      client.release();
    }
  });

  it('JB2 a host takes a bounded number of waiting jobs', async () => {
    await connect('p1').next('welcome');
    const { rows } = await pool.query<{ id: string; host_id: string; domain_id: string }>(
      `select s.id, s.host_id, h.domain_id from source s join host h on h.id = s.host_id`,
    );
    await pool.query(
      `insert into job (id, domain_id, host_id, source_id, kind, state, request, requested_by)
       select 'q' || n, $3, $2, $1, 'verify', 'queued', '', 'x' from generate_series(1, 40) n`,
      [rows[0]?.id, rows[0]?.host_id, rows[0]?.domain_id],
    );
    expect(await codeOf(test.owner.startBackup({ source: 'web-1/site' }))).to.equal('LIMIT_EXCEEDED');
  });
});
