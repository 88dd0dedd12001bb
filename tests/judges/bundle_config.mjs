// How a host starts a bundle: node bundle_config.mjs FOLDER USER_CONFIG prints the command, its arguments and its environment.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { getMcpConfigForManifest } from "@anthropic-ai/mcpb";

const [folder, chosen] = process.argv.slice(2);
const config = await getMcpConfigForManifest({
  manifest: JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8")),
  extensionPath: folder,
  systemDirs: { HOME: process.env.HOME },
  userConfig: JSON.parse(chosen),
  pathSeparator: "/",
  logger: console,
});
process.stdout.write(JSON.stringify(config));
