import { createHttpClient } from "../http-client.ts";
import { createRaw } from "./raw.mjs";
import { anonymous } from "@toolyard/service-kit";
const port=+process.argv[2];
const client=createHttpClient({name:"a",url:`http://127.0.0.1:${port}/graphql`,headersFor:()=>({})});
const query="query($representations:[_Any!]!){_entities(representations:$representations){...on Product{reviews{id body author{__typename id}}}}}";
const variables={representations:Array.from({length:10},(_, i)=>({__typename:"Product",upc:"p"+i}))}; const variablesText=JSON.stringify(variables);
const raw=createRaw(port); const qt=JSON.stringify(query);
const kinds={ undici:()=>client.execute({query,variables,variablesText,context:{caller:anonymous,requestId:"r"},signal:new AbortController().signal}), raw:async()=>JSON.parse(await raw(`{"query":${qt},"variables":${variablesText}}`)) };
for(let round=0;round<3;round++) for(const [k,f] of Object.entries(kinds)){ 
 const go=async(n)=>{let left=n; await Promise.all(Array.from({length:50},async()=>{while(left-->0) await f();}));};
 await go(3000); const c=process.cpuUsage(); await go(15000); const d=process.cpuUsage(c); console.log(k,((d.user+d.system)/15000).toFixed(1),"µs/req user",(d.user/15000).toFixed(1)); }
process.exit(0);
