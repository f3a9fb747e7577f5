// Failover in an agent that may never need it: loaded when the host has an application, becomes part of one, or is asked as a witness.
//
// Tested in agent-failover.test.ts.

import type { FailoverMessage } from '@holdfast/shared/failover/messages';
import type { ServiceCommands } from '@holdfast/shared/recovery/step-types';
import type { ApplicationSpec } from '@holdfast/shared/rpc/failover-wire';
import type { Serving } from '../contract.ts';
import type { AgentFailover, AgentFailoverDeps } from './agent-failover.ts';
import { peerAddresses, type PeerSettings } from './peer-addresses.ts';
import { knownApplications } from './record-file.ts';

export interface LazyServing extends Serving {
  /** host:port where other agents reach this one. */
  addresses(): string[];
  heard(application: string, message: FailoverMessage): void;
  update(specs: readonly ApplicationSpec[], removed: readonly string[]): void;
  certificateRenewed(): void;
  stop(): Promise<void>;
}

export interface LazyServingDeps extends Omit<AgentFailoverDeps, 'servicesFor'> {
  /** Of the agent's settings, by name. */
  readonly services: Readonly<Record<string, ServiceCommands>>;
}

export function lazyServing(deps: LazyServingDeps, settings: PeerSettings | undefined): LazyServing {
  let loading: Promise<AgentFailover> | undefined;
  let loaded: AgentFailover | undefined;
  let stopped = false;

  const load = async (): Promise<AgentFailover> => {
    const [{ startAgentFailover }, { newServices }] = await Promise.all([
      import('./agent-failover.ts'),
      import('../steps/services.ts'),
    ]);
    const { clock, stateDir, services } = deps;
    loaded = await startAgentFailover({
      ...deps,
      servicesFor: (planServices) => newServices({ clock, stateDir, services, planServices }),
    });
    return loaded;
  };
  const use = async (work: (failover: AgentFailover) => Promise<void> | void): Promise<void> => {
    if (stopped) return;
    try {
      await work(await (loading ??= load()));
    } catch (error) {
      deps.log.error('failover.failed', { error });
    }
  };
  const needed = (): boolean => loading !== undefined;

  if (knownApplications(deps.stateDir).length > 0) void use(() => undefined);
  return {
    addresses: () => (settings === undefined ? [] : peerAddresses(settings, loaded?.movingAddresses() ?? new Set())),
    heard(application, message) {
      if (needed() || message.kind === 'probe') void use((failover) => failover.heard(application, message));
    },
    update(specs, removed) {
      if (needed() || specs.length > 0) void use((failover) => failover.update(specs, removed));
    },
    certificateRenewed: () => loaded?.certificateRenewed(),
    // A host that is part of no application has promised nothing.
    refuses: async (order) => (needed() ? await (await loading)?.refuses(order) : undefined),
    stopServing: async (application, epoch) => await (await (loading ??= load())).stopServing(application, epoch),
    activated: async (application, epoch) => {
      if (needed()) await (await loading)?.activated(application, epoch);
    },
    async stop() {
      stopped = true;
      const failover = await loading?.catch(() => undefined);
      await failover?.stop();
    },
  };
}
