import { createServer } from "node:http";
const body = JSON.stringify({data:{_entities:Array.from({length:10},(_, i)=>({__typename:"Product",reviews:[{id:"r"+i,body:"Review number "+i,author:{__typename:"User",id:"u"+i}}]}))}});
const s=createServer((q,r)=>{q.resume();q.on("end",()=>r.writeHead(200,{"content-type":"application/json","content-length":Buffer.byteLength(body)}).end(body))});
s.keepAliveTimeout=60000; s.listen(+process.argv[2],"127.0.0.1");
