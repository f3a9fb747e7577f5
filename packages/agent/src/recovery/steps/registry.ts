// Which module knows which type of step. Loaded when a step of the type comes.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { HostStepSpec } from '@holdfast/shared/recovery/host-step';
import type { StepType } from './step-type.ts';

type Loaders = {
  readonly [Type in HostStepSpec['type']]?: () => Promise<StepType<Extract<HostStepSpec, { type: Type }>>>;
};

const restoreLook = async (): Promise<StepType> => (await import('./restore-look.ts')).restoreLook;

const LOADERS: Loaders = {
  'check.command': async () => (await import('./check-steps.ts')).commandCheck,
  'check.http': async () => (await import('./check-steps.ts')).httpCheck,
  'check.sql': async () => (await import('./check-steps.ts')).sqlCheck,
  'check.tcp': async () => (await import('./check-steps.ts')).tcpCheck,
  'restore.command': restoreLook,
  'restore.files': restoreLook,
  'restore.image': restoreLook,
  'restore.mariadb': restoreLook,
  'restore.postgres': restoreLook,
  'restore.redis': restoreLook,
  'restore.sqlite': restoreLook,
  'service.start': async () => (await import('./service-steps.ts')).serviceStart,
  'service.stop': async () => (await import('./service-steps.ts')).serviceStop,
  fence: async () => (await import('./fence.ts')).fenceStep,
  render: async () => (await import('./render.ts')).renderStep,
  rebuild: async () => (await import('./rebuild/rebuild.ts')).rebuildStep,
  traffic: async () => (await import('./traffic.ts')).trafficStep,
  command: async () => (await import('./command.ts')).commandStep,
};

/** Throws INVALID_ARGUMENT for a type that no host carries out. */
export async function stepTypeOf(type: HostStepSpec['type']): Promise<StepType> {
  const load = LOADERS[type];
  if (load === undefined) throw new HoldfastError('INVALID_ARGUMENT', `a ${type} step is not for a host's agent`);
  // A module takes the steps of the type under which it stands here, and gets no others.
  return load();
}
