// The thread that writes a blueprint.

import { encodeSection, sectionPath } from '@holdfast/shared/blueprint/blueprint';
import { runProducer } from '../../backup/producer/run-producer.ts';
import { madeEntry, writeWhole } from '../made-entries.ts';
import { collectBlueprint } from './collect.ts';
import { hostFiles } from './host-files.ts';

runProducer(async (writer, data, context) => {
  const metadata = madeEntry(Date.now());
  for await (const [name, section] of collectBlueprint(context.signal, hostFiles(data as string))) {
    const bytes = encodeSection(section);
    writeWhole(writer, sectionPath(name), metadata, bytes);
  }
});
