// All sections of this host's blueprint.

import type { Section, SectionName } from '@holdfast/shared/blueprint/blueprint';
import { groups, users } from './accounts.ts';
import { hostFiles, type HostFiles } from './host-files.ts';
import { packages, repositories } from './packages.ts';
import { toolRunner, type RunTool } from './run-tool.ts';
import { cron, listening, units } from './services.ts';
import { firewall, mounts, network, sysctl, system } from './system.ts';

const COLLECTORS: Readonly<Record<SectionName, (files: HostFiles, run: RunTool) => Section | Promise<Section>>> = {
  system,
  packages,
  repositories,
  users,
  groups,
  units,
  cron,
  mounts,
  network,
  firewall,
  sysctl,
  listening,
};

/** One section after the other. */
export async function* collectBlueprint(
  signal: AbortSignal,
  files: HostFiles = hostFiles(),
  run: RunTool = toolRunner(signal),
): AsyncGenerator<readonly [SectionName, Section]> {
  for (const name of Object.keys(COLLECTORS) as SectionName[]) {
    signal.throwIfAborted();
    yield [name, await COLLECTORS[name](files, run)];
  }
}
