// An agent in the test's own process, enrolled with a controller in the same process: what a test of clocks or secrets stands on, where
// something has to be put into the agent that no setting gives.

import { join } from 'node:path';
import { startAgent, type Agent } from '@holdfast/agent/agent';
import { enrol } from '@holdfast/agent/link/enrol';
import { engineRegistry } from '@holdfast/agent/sources/registry';
import type { TestController } from '@holdfast/controller/testing/test-controller';
import { decodeEnrolmentToken } from '@holdfast/shared/rpc/enrolment-token';
import type { JobOutcome } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { systemClock, type Clock } from '@holdfast/shared/runtime/clock';
import { silentLog } from '@holdfast/shared/runtime/log';

export interface AgentSetting {
  /** The agent's state goes into a folder of the host's name below it. */
  readonly dir: string;
  readonly host: string;
  readonly domain?: string;
  readonly domainSecret?: Uint8Array;
  readonly clock?: Clock;
}

/** Enrols the host, and returns when its agent is online. */
export async function startEnrolledAgent(test: TestController, setting: AgentSetting): Promise<Agent> {
  const { dir, host, domain = 'default', domainSecret, clock = systemClock } = setting;
  const { token } = await test.owner.addHost({ domain, name: host });
  const facts = { hostname: host, machineId: host, agentVersion: 'test', os: 'test' };
  const stateDir = join(dir, host);
  const common = { stateDir, clock, random: Math.random };
  const given = domainSecret === undefined ? {} : { domainSecret };
  await enrol(decodeEnrolmentToken(token), { ...common, ...given, facts, replace: false });
  const agent = startAgent({ ...common, controllerAddress: undefined, log: silentLog, engines: engineRegistry(100) });
  while ((await test.owner.getHost({ domain, name: host })).host?.state !== 'online') {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return agent;
}

/** How a job ended. */
export async function outcomeOf(test: TestController, jobId: string): Promise<JobOutcome> {
  for await (const { kind } of test.owner.watchJob({ jobId })) if (kind?.$case === 'outcome') return kind.value;
  throw new Error('the job ended without an outcome');
}
