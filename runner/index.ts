import { attachHosting } from "./attach-hosting.ts";
import { main } from "./main.ts";

await main(attachHosting);
