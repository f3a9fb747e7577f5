// Steps of recovery plans, from the wire and to it.
//
// Hazard: a step makes root run programs, and its run's id becomes a directory's name. So nothing that is not understood to the last
// field is taken, and ids are of letters that lead nowhere (threats 4, 40).
//
// Tested in step-wire.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { decodeHostStep, decodeResolved, decodeServices } from '@holdfast/shared/recovery/host-step';
import type { StepJob as WireStep, StepOutcome as WireOutcome } from '@holdfast/shared/rpc/gen/holdfast/v1/step';
import { STEP_ACTIONS, type HostStep, type StepReport } from '../recovery/contract.ts';

const DEFAULT_TIMEOUT_MS = 10 * 60_000;
const TIMEOUT_MAX_MS = 24 * 3_600_000;
const SECRETS_MAX = 64;
const SECRET_MAX_BYTES = 64 * 1024;

/** Throws INVALID_ARGUMENT. */
export function stepFromWire(wire: WireStep): HostStep {
  const action = STEP_ACTIONS.find((known) => known === wire.action);
  if (action === undefined) throw refused('an action on a step that this agent does not know; update the agent');
  for (const id of [wire.application, wire.run, wire.step]) {
    if (!/^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$/.test(id)) throw refused('a step whose ids are none');
  }
  const spec = decodeHostStep(wire.spec);
  if (spec.id !== wire.step) throw refused('a step under the name of another');
  if (wire.attempt < 1) throw refused('a step without an attempt');
  if (wire.sandbox !== '' && !/^[A-Za-z0-9][A-Za-z0-9-]{0,63}$/.test(wire.sandbox))
    throw refused('a sandbox that is none');
  return {
    application: wire.application,
    plan: wire.plan.slice(0, 256),
    run: wire.run,
    step: wire.step,
    attempt: wire.attempt,
    term: counted(wire.term),
    epoch: counted(wire.epoch),
    action,
    spec,
    timeoutMs: Math.min(TIMEOUT_MAX_MS, wire.timeoutMs === 0 ? DEFAULT_TIMEOUT_MS : wire.timeoutMs),
    sandbox: wire.sandbox,
    secrets: secretsFromWire(wire.secrets),
    services: decodeServices(wire.services),
    resolved: decodeResolved(wire.resolved),
  };
}

function secretsFromWire(wire: WireStep['secrets']): ReadonlyMap<string, Uint8Array> {
  if (wire.length > SECRETS_MAX) throw refused('a step with too many secrets');
  for (const { name, value } of wire) {
    if (!/^[a-z0-9][a-z0-9._-]{0,63}$/.test(name) || value.length > SECRET_MAX_BYTES) {
      throw refused('a step with a secret that is none');
    }
  }
  // A copy: the message's bytes are not ours for long.
  return new Map(wire.map(({ name, value }) => [name, Buffer.from(value)]));
}

function counted(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw refused('a term or an epoch beyond 2^53');
  return Number(value);
}

const MESSAGE_MAX = 8192;
const OUTPUT_MAX_BYTES = 64 * 1024;
const FACTS_MAX = 64;
const FACT_MAX = 4096;

export function stepOutcomeToWire(report: StepReport): WireOutcome {
  const { output } = report;
  const half = OUTPUT_MAX_BYTES / 2;
  return {
    state: report.state,
    message: report.message.slice(0, MESSAGE_MAX),
    remedy: report.remedy.slice(0, MESSAGE_MAX),
    output:
      output.length <= OUTPUT_MAX_BYTES ? output : Buffer.concat([output.subarray(0, half), output.subarray(-half)]),
    facts: Object.entries(report.facts)
      .slice(0, FACTS_MAX)
      .map(([name, value]) => ({ name: name.slice(0, 256), value: value.slice(0, FACT_MAX) })),
  };
}

function refused(what: string): HoldfastError {
  return new HoldfastError('INVALID_ARGUMENT', `the controller asked for ${what}`);
}
